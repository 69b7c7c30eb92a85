package messages

import (
	"regexp"
	"strconv"
	"strings"
)

// FeedStream is the name of the JetStream stream that holds the feed.
func (c Context) FeedStream() string { return strings.ToUpper(string(c)) + "_FEED" }

// OutcomeStream is the name of the JetStream stream that holds the outcomes of commands
// that were left in the inbox.
func (c Context) OutcomeStream() string { return strings.ToUpper(string(c)) + "_OUTCOMES" }

// FeedSubjects are those of the feed: <context>.evt.<type>.<id>.<Event>.
func (c Context) FeedSubjects() string { return string(c) + ".evt.>" }

// FeedStatusSubject is the one on which operators ask how the feed stands. Clients do not reach
// it.
func (c Context) FeedStatusSubject() string { return string(c) + ".feed.status" }

// OutcomeSubjects are those of outcomes: <context>.outcome.<command id>.
func (c Context) OutcomeSubjects() string { return string(c) + ".outcome.>" }

// InboxSubjects are those on which commands are left: <context>.inbox.<type>.<id>.<Command>.
func (c Context) InboxSubjects() string { return string(c) + ".inbox.>" }

// ViewSubjects are those on which read models are asked: <context>.view.<projection>.<key>.
func (c Context) ViewSubjects() string { return string(c) + ".view.>" }

// ViewsSubject is the one on which it is asked which read models there are.
func (c Context) ViewsSubject() string { return string(c) + ".views" }

// ViewBucketPrefix begins the names of the NATS KV buckets that hold read models, and of
// no others. No context has a '_' in its name, so that none begins those of another.
func (c Context) ViewBucketPrefix() string { return string(c) + "_view_" }

// ViewBucket is the name of the NATS KV bucket with one generation of a projection, whose
// name has the form of a type's ([ParseType]).
func (c Context) ViewBucket(projection string, generation uint64) string {
	return c.ViewBucketPrefix() + projection + "_" + strconv.FormatUint(generation, 10)
}

// NodeConsumers begins the names of the JetStream consumers with which nodes read what clients
// may read as well. Clients may not ask for such, and so not change one either.
const NodeConsumers = "holdfast-"

// bucketStream begins the name of the stream that holds a bucket.
const bucketStream = "KV_"

// bucketForm is that of what follows the prefix in the name of a bucket.
var bucketForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// IsPublic reports whether a JetStream stream of the context is one that clients may read:
// the feed, the outcomes, or the bucket of a read model.
func (c Context) IsPublic(stream string) bool {
	if stream == c.FeedStream() || stream == c.OutcomeStream() {
		return true
	}
	rest, ok := strings.CutPrefix(stream, bucketStream+c.ViewBucketPrefix())
	return ok && bucketForm.MatchString(rest)
}
