package inbox_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/inbox"
)

// A command that the server has delivered and that never came, as when a link between servers breaks,
// is executed, though none comes after it.
func TestLostOnTheWay(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	w.run(func(c *inbox.RunnerConfig) { *c = c.WithAsking(3 * time.Second) })
	w.left("account.ada.OpenAccount", "o", open)
	w.outcome("o")
	s, err := w.client.Stream(within(t), "BANK_INBOX")
	if err != nil {
		t.Fatal(err)
	}
	var consumer string
	for name := range s.ConsumerNames(within(t)).Name() {
		consumer = name
	}
	nc := w.client.Conn()
	thief, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.BANK_INBOX."+consumer, thief.Subject, []byte(`{"batch":1,"expires":60000000000}`)); err != nil {
		t.Fatal(err)
	}
	stolen := func() bool {
		n, _, err := thief.Pending()
		return err == nil && n > 0
	}
	last := ""
	for i := 0; !stolen(); i++ {
		last = fmt.Sprint("d-", i)
		w.left("account.ada.Deposit", last, deposit)
		w.eventually(func() error {
			if all, err := w.readOutcomes(last); err != nil || len(all) == 0 && !stolen() {
				return errNotYet
			}
			return nil
		})
	}
	check(t, "outcome", w.outcome(last).Status, "")
	w.empty()
}
