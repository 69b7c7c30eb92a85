package follow

import (
	"context"
	"encoding/json"
)

// TakeForTest writes another holder into the record of a seat, whoever holds it.
func (s *Seats) TakeForTest(ctx context.Context, seat, holder string) error {
	e, err := s.kv.Get(ctx, seat)
	if err != nil {
		return err
	}
	r, err := read(e)
	if err != nil {
		return err
	}
	r.Holder, r.Node = holder, holder
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = s.kv.Put(ctx, seat, body)
	return err
}
