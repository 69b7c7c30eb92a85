package messages

// The headers of a message in the feed, which is a CloudEvent in binary mode, beside its
// [HeaderContentType].
const (
	HeaderEventSpec        = "ce-specversion"
	HeaderEventID          = "ce-id"
	HeaderEventSource      = "ce-source"
	HeaderEventType        = "ce-type"
	HeaderEventTime        = "ce-time"
	HeaderEventSubject     = "ce-subject"
	HeaderEventContentType = "ce-datacontenttype"
	HeaderEventSequence    = "ce-sequence"
	HeaderEventCorrelation = "ce-correlationid"
	HeaderEventCausation   = "ce-causationid"
	HeaderEventPosition    = "ce-position"
	// HeaderUnread says why the event is not shown in its newest form.
	HeaderUnread = "Holdfast-Unread"
)

// EventSpec is the version of CloudEvents that the feed speaks.
const EventSpec = "1.0"

// TypeUnread is the content type of what cannot be read as protobuf.
const TypeUnread = "application/octet-stream"
