package node_test

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/sagas"
)

var transfers = flag.Int("transfers", 600, "how many transfers there are between accounts")

const (
	accounts = 100
	deposit  = 1000
)

// Money neither comes nor goes when it moves among accounts, though one transfer in twenty is
// refused, one answer in a hundred gets lost, and the node is killed twice.
func TestTransfers(t *testing.T) {
	t.Parallel()
	c := config(t)
	b := startBand(t, c)
	command(t, b, accounts, func(i int) (subject, body string) {
		return fmt.Sprintf("demo.cmd.account.a-%d.OpenAccount", i), `{"owner":"ada"}`
	})
	command(t, b, accounts, func(i int) (subject, body string) {
		return fmt.Sprintf("demo.cmd.account.a-%d.Deposit", i), fmt.Sprintf(`{"amount":"%d"}`, deposit)
	})
	begin := time.Now()
	command(t, b, *transfers, func(i int) (subject, body string) {
		if i == *transfers/3 || i == *transfers*2/3 {
			b.mortals[0].kill()
		}
		amount := 1 + i%20
		if i%20 == 0 {
			amount = 10 * deposit
		}
		return fmt.Sprintf("demo.cmd.transfer.t-%d.Transfer", i), fmt.Sprintf(`{"from":"a-%d","to":"a-%d","amount":"%d"}`, i%accounts, (i+1+i/accounts%(accounts-1))%accounts, amount)
	})
	b.stop()
	n := startAll(t, withSagas(c))[0]
	ended := map[string]int{}
	for i := range *transfers {
		ended[over(t, n, "transfer", fmt.Sprintf("t-%d", i)).Status]++
	}
	t.Logf("%d transfers in %v: %v", *transfers, time.Since(begin).Round(time.Millisecond), ended)
	if ended[string(sagas.Completed)] == 0 || ended[string(sagas.Compensated)] < *transfers/20 {
		t.Error("not all ways to end have been taken")
	}
	var sum int64
	for i := range accounts {
		sum += view[*bankpb.Account](t, n, "account", fmt.Sprintf("a-%d", i)).Balance
		once(t, n, fmt.Sprintf("account.a-%d", i))
	}
	if sum != accounts*deposit {
		t.Errorf("there are %d, and there were %d", sum, accounts*deposit)
	}
	stop(t, n)
	if out, errs, code := run("verify", "--data", c.Data); code != cli.ExitOK || !strings.Contains(out, "nothing is wrong") {
		t.Errorf("verify ends with %d:\n%s%s", code, out, errs)
	}
}

// command sends commands, several at a time, each until it is taken or refused.
func command(t *testing.T, b *band, n int, what func(i int) (subject, body string)) {
	t.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !t.Failed(); i = int(next.Add(1)) - 1 {
				subject, body := what(i)
				request := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{"Nats-Msg-Id": {subject}}}
				for end := time.Now().Add(2 * time.Minute); ; {
					if taken(b.connect(0), request) {
						break
					}
					if time.Now().After(end) {
						t.Errorf("%s is not answered", subject)
						return
					}
				}
			}
		})
	}
	all.Wait()
}

func taken(nc *nats.Conn, request *nats.Msg) bool {
	if nc == nil {
		return false
	}
	reply, err := nc.RequestMsg(request, 10*time.Second)
	if err != nil {
		return false
	}
	code := reply.Header.Get("Nats-Service-Error-Code")
	return code == "" || code == "422"
}
