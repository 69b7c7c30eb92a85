// Package gateway is where clients of any language reach the aggregates: a NATS micro
// service that reads a request's subject, headers and body, has a [holdfast.Sender],
// a [holdfast.Viewer] or a [persistence.Reader] do the work, and answers. It knows
// neither cluster nor actors. docs/wire.md tells what stands on the wire.
//
// # Requests
//
// The service has three endpoints: <context>.cmd.<type>.<id>.<Command>,
// <context>.get.<type>.<id> and <context>.history.<type>.<id>. Each is subscribed with a
// trailing ">", so that a subject of the wrong form is answered with a sentence rather
// than with "no responders". What a server does not route at all, such as a subject with
// an empty token, never arrives here.
//
// A request that cannot be answered is not executed either:
//
//   - One without a reply subject is ignored: nobody would hear that it was refused,
//     and a command that is lost under load must not be lost in silence.
//   - One whose reply subject begins with '$', has a wildcard or an empty token, or lies
//     in the subjects of a context is ignored with a warning: the answer would be
//     published there, into a log for instance. Connect the gateway by an account that
//     may not publish there as well.
//
// Requests run concurrently, also those to one aggregate, which so can share a commit. A
// client that needs an order awaits one answer before it sends the next request.
//
// # Bodies
//
// A body is JSON unless the request's Content-Type says protobuf, and the answer is of
// the same kind. What a body says beyond what the message has is refused, in both kinds:
// a dropped field would be a dropped intent. An empty body stands for a message without
// values in protobuf, where it is just that; in JSON it does so only for a message that
// has no fields, and otherwise {} must be sent. A get has no body.
//
// In JSON, state and data show all fields by their protobuf names, unset ones included.
//
// # Limits
//
// Requests in flight are limited by number and by the bytes of their bodies; beyond that
// a request is answered with 429 at once. Requests that read the log wait for one another
// beyond a smaller number. An answer fits into one message: a page of the history is cut
// where it must be, a state that does not fit is answered with 413, and the answer to a
// command leaves out the names of the events when they alone would make it too large.
package gateway
