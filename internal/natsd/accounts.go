package natsd

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"

	"github.com/holdfast-run/holdfast/messages"
)

// Role says what an in-process connection may do. Its text is the name of the
// user that the connection logs in as.
type Role string

const (
	// Node is the node's own work: full rights in CORE.
	Node Role = "holdfast-node"
	// Gateway is for what answers clients. It may not publish to the subjects
	// of the context nor to those of JetStream, so that no reply subject of a
	// client's choosing can write anything.
	Gateway Role = "holdfast-gateway"
)

// adminUser is for the operator's commands.
const adminUser = "holdfast-admin"

const (
	coreAccount   = "CORE"
	edgeAccount   = "EDGE"
	systemAccount = "SYS"
)

// The passwords that are hashed here are random and long, or guarded by the
// network; the hash never leaves the process. So it may be the cheapest: a
// login costs about a millisecond.
const bcryptCost = bcrypt.MinCost

func isReservedUser(name string) bool {
	return slices.Contains([]string{string(Node), string(Gateway), string(Publisher), adminUser}, name)
}

// discovery is how NATS services are found.
const discovery = "$SRV.>"

// clientSubjects are what EDGE imports from CORE and its clients may publish to.
func clientSubjects(context string) []string {
	c := messages.Context(context)
	return []string{
		context + ".cmd.>", context + ".get.>", context + ".history.>",
		c.InboxSubjects(), c.ViewSubjects(), c.ViewsSubject(), discovery,
	}
}

// addAccounts puts the accounts into o. It goes through the text form, which
// is the only one where an account can be given JetStream before the start.
func addAccounts(o *server.Options, context string) error {
	var asked []share
	for _, subject := range clientSubjects(context) {
		// One request for discovery has as many answers as there are services.
		asked = append(asked, share{subject: subject, stream: subject == discovery})
	}
	told := append(publicSubjects(context), inboxes)
	text := fmt.Sprintf(`
accounts {
  %s { jetstream: enabled, exports: [%s] }
  %s { jetstream: enabled, exports: [%s%s] }
  %s { imports: [%s%s%s] }
  %s {}
}
system_account: %s
`, coreAccount, exportServices(asked),
		publicAccount, exportServices(readerShares), exportStreams(told),
		edgeAccount, importServices(coreAccount, asked), importServices(publicAccount, readerShares), importStreams(publicAccount, told),
		systemAccount, systemAccount)
	if err := o.ProcessConfigString(text); err != nil {
		return fmt.Errorf("configure accounts: %w", err)
	}
	return nil
}

// credentials are the random passwords of one run.
type credentials struct {
	node, gateway, publisher, admin string
}

func newCredentials() credentials {
	return credentials{node: rand.Text(), gateway: rand.Text(), publisher: rand.Text(), admin: rand.Text()}
}

func (c credentials) of(role Role) (password string, ok bool) {
	switch role {
	case Node:
		return c.node, true
	case Gateway:
		return c.gateway, true
	case Publisher:
		return c.publisher, true
	default:
		return "", false
	}
}

// addUsers puts the users into o, which has its accounts already.
func addUsers(o *server.Options, cfg Config, c credentials) error {
	inProcess := map[string]struct{}{"IN_PROCESS": {}}
	overTCP := map[string]struct{}{"STANDARD": {}}
	core, edge, public := account(o, coreAccount), account(o, edgeAccount), account(o, publicAccount)

	client := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: append(clientSubjects(cfg.Context), readerSubjects...)},
		Subscribe: &server.SubjectPermission{Allow: append(publicSubjects(cfg.Context), inboxes)},
	}

	o.Users = []*server.User{
		{Username: string(Node), Password: c.node, Account: core, AllowedConnectionTypes: inProcess},
		{
			Username: string(Gateway), Password: c.gateway, Account: core, AllowedConnectionTypes: inProcess,
			Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: gatewayDenied(cfg.Context)}},
		},
		{Username: string(Publisher), Password: c.publisher, Account: public, AllowedConnectionTypes: inProcess},
		{Username: adminUser, Password: c.admin, Account: core, AllowedConnectionTypes: overTCP},
	}
	if cfg.ClientUser == "" {
		return errors.Join(hashPasswords(o.Users), addAnonymous(o, edge, client))
	}
	o.Users = append(o.Users, &server.User{
		Username: cfg.ClientUser, Password: cfg.ClientPassword, Account: edge, Permissions: client,
	})
	return hashPasswords(o.Users)
}

// addAnonymous adds the user that is given to those who show no credentials.
// It is a key, whose private half nobody has: a user with a password could
// only have it in the clear, about which the server warns.
func addAnonymous(o *server.Options, edge *server.Account, client *server.Permissions) error {
	key, err := nkeys.CreateUser()
	if err != nil {
		return fmt.Errorf("create key of the anonymous user: %w", err)
	}
	defer key.Wipe()
	public, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("create key of the anonymous user: %w", err)
	}
	o.Nkeys = []*server.NkeyUser{{Nkey: public, Account: edge, Permissions: client}}
	o.NoAuthUser = public
	return nil
}

func hashPasswords(users []*server.User) error {
	for _, u := range users {
		hash, err := bcrypt.GenerateFromPassword([]byte(u.Password), bcryptCost)
		if err != nil {
			return fmt.Errorf("hash password of user %s: %w", u.Username, err)
		}
		u.Password = string(hash)
	}
	return nil
}

// gatewayDenied covers the log, the snapshots and everything else of the
// context that a stream may hold, and what the server or nats.go keeps in
// streams of its own: JetStream's interface, key-value and object stores.
func gatewayDenied(context string) []string {
	return []string{context + ".>", "$JS.>", "$KV.>", "$O.>"}
}

func account(o *server.Options, name string) *server.Account {
	i := slices.IndexFunc(o.Accounts, func(a *server.Account) bool { return a.Name == name })
	return o.Accounts[i]
}
