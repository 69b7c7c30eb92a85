package sqlsink_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

// BenchmarkCommit handles events in batches of 1,000, of each of which one row, or document, of
// 10,000 is changed.
func BenchmarkCommit(b *testing.B) {
	const batch, keys = 1000, 10_000
	for _, k := range kinds {
		for _, p := range []*projections.Projection{rows("rows", counts), documents("documents")} {
			b.Run(k.name+"/"+p.Name(), func(b *testing.B) {
				s := open(b, k.at(b))
				u := prepare(b, s, p, 1)
				var names [keys]string
				for i := range names {
					names[i] = fmt.Sprintf("key-%d", i)
				}
				n := 0
				b.ReportAllocs()
				for b.Loop() {
					if n++; n%batch == 0 {
						commitBench(b, s, u, names[:], n)
					}
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

func commitBench(b *testing.B, s *sqlsink.Sink, u projections.Unit, names []string, n int) {
	err := commit(b, s, u, func(tx projections.Batch) error {
		for i := range 1000 {
			key := names[(n*7+i*13)%len(names)]
			var err error
			if u.Projection == "rows" {
				_, err = tx.Exec(`INSERT INTO counts (id, n) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = counts.n + excluded.n`, []any{key, 1})
			} else {
				err = tx.Change(key, projections.Place{Sequence: uint64(n + i)}, func(old []byte) ([]byte, error) {
					was, _ := strconv.Atoi(string(old))
					return strconv.AppendInt(nil, int64(was+1), 10), nil
				})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
