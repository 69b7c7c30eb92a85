package actors

// What the scripts need to see.
var (
	FindForTest    = find
	ReadForTest    = Load.read
	PrepareForTest = (*Request).prepare
	AnswerForTest  = func(r *Request) Answer { return r.answer }
)
