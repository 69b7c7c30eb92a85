package actors

// What the scripts need to see.
var (
	FindForTest    = find
	PrepareForTest = (*Request).prepare
	AnswerForTest  = func(r *Request) Answer { return r.answer }
)
