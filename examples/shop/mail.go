package shop

import (
	_ "embed"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
)

//go:embed mail.golden
var recordedOfMail string

// Mail is the aggregate type "mail": what was sent to the customer about an order, with the
// order's id.
var Mail = holdfast.Define("mail",
	holdfast.Decide(mail.notify),
	holdfast.Evolve(mail.notified),
	holdfast.Snapshot(mail.save, loadMail),
	holdfast.Recorded[mail](recordedOfMail),
)

// mail is the state: the last one that was sent.
type mail struct {
	to   string
	text string
}

// nobody is the customer whose mail comes back. Whose does is the mail server's to say; here
// the name says so itself, so that both can be shown.
const nobody = "nobody"

// notify finds nothing to do when the customer has just been told the same.
func (m mail) notify(c *pb.Notify) (holdfast.Events, error) {
	switch {
	case c.To == "" || c.Text == "":
		return nil, holdfast.Reject("incomplete", "a mail needs someone to go to and a text")
	case m == mail{to: c.To, text: c.Text}:
		return nil, nil
	case c.To == nobody:
		return nil, holdfast.Reject("bounced", "the mail to %s came back", c.To)
	}
	return holdfast.Events{&pb.Notified{To: c.To, Text: c.Text}}, nil
}

func (m mail) notified(e *pb.Notified) mail {
	return mail{to: e.To, text: e.Text}
}

func (m mail) save() *pb.Mail {
	return &pb.Mail{To: m.to, Text: m.text}
}

func loadMail(p *pb.Mail) mail {
	return mail{to: p.To, text: p.Text}
}
