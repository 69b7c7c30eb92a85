package sagas

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

var (
	begin = Begin(trip.begun)
	take  = Do("account", trip{}.take(1))
	give  = Undo("account", trip{}.give(1))
)

func ok(name string) Part    { return Step(name, take, give) }
func after(name string) Part { return Retryable(name, take) }

// A wrong definition is refused with a sentence that says what is wrong and where.
func TestWrongDefinitions(t *testing.T) {
	type parts []Part
	var nobody func(trip) (string, *bankpb.Withdraw)
	for want, p := range map[string]parts{
		"it checks bank.v1.OpenAccount: put a Begin for that command":    {Check(trip.check), begin, ok("a")},
		"Check(*bankpb.OpenAccount) at check_internal_test.go":           {begin, Check[trip, *bankpb.OpenAccount](nil)},
		"RetryUndo: the first pause is 0s":                               {begin, Step("a", take, give, RetryUndo(Backoff{}))},
		"UndoBecause(*bankpb.Deposit): it is undone already":             {begin, Step("a", take, give, UndoBecause("account", trip.because))},
		"it cannot begin: give it a Begin":                               {ok("a")},
		"it has no steps":                                                {begin},
		"an empty part was given":                                        {begin, Part{}},
		"the saga begins with OpenAccount already":                       {begin, begin, ok("a")},
		"Begin(*bankpb.OpenAccount) at check_internal_test.go":           {Begin[trip, *bankpb.OpenAccount](nil)},
		"is an interface: the function must name one":                    {Begin(func(trip, string, proto.Message) trip { return trip{} })},
		`Step("A") at check_internal_test.go`:                            {begin, Step("A", take, give)},
		"bad name":                                                       {begin, ok("a b")},
		"there is a step of that name already, at check_internal_test":   {begin, ok("a"), ok("a")},
		"it does nothing: give it a Do":                                  {begin, Step("a", give)},
		"it does something already":                                      {begin, Step("a", take, take, give)},
		"it is undone already":                                           {begin, Step("a", take, give, give)},
		"it has no compensation: give it an Undo, or say with NoUndo":    {begin, Step("a", take)},
		"it has both an Undo and a NoUndo":                               {begin, Step("a", take, give, NoUndo("it is cheap"))},
		"NoUndo: say why":                                                {begin, Step("a", take, NoUndo(""))},
		"it is never undone: leave its compensation out":                 {begin, Retryable("a", take, give)},
		"it cannot run out of time: bound it with Retry":                 {begin, Retryable("a", take, Timeout(time.Second))},
		"Timeout(0s): choose more than nothing":                          {begin, Step("a", take, give, Timeout(0))},
		"the longest not below the first":                                {begin, Step("a", take, give, Retry(Backoff{First: 2, Max: 1, Attempts: 1}))},
		"0 attempts: choose at least one":                                {begin, Step("a", take, give, Retry(Backoff{First: 1, Max: 1}))},
		"Until: the function is nil":                                     {begin, Step("a", take, give, Until[trip](nil))},
		"Do(*bankpb.Withdraw): the function is nil":                      {begin, Step("a", Do("account", nobody), give)},
		"it names no aggregate type":                                     {begin, Step("a", Do("", trip{}.take(1)), give)},
		"an empty option was given":                                      {begin, Step("a", take, give, Option{})},
		`Pivot("c") at check_internal_test.go:`:                          {begin, Pivot("b", take), Pivot("c", take)},
		"there is a pivot already":                                       {begin, ok("a"), Pivot("b", take), Pivot("c", take)},
		"what is before the pivot must be a Step":                        {begin, after("a"), Pivot("b", take)},
		`there is no way back after "p"`:                                 {begin, Pivot("p", take), ok("b")},
		`there is no way back after "r"`:                                 {begin, after("r"), ok("b")},
		"it needs at least two steps":                                    {begin, Together(ok("a"))},
		"put steps together, and nothing else":                           {begin, Together(ok("a"), hears)},
		`it stands together with others: let it stand alone`:             {begin, Together(ok("a"), Pivot("b", take))},
		"are of two kinds":                                               {begin, Together(ok("a"), after("b"))},
		"Hear(*bankpb.Deposited) at check_internal_test.go":              {begin, Hear[trip, *bankpb.Deposited]("account", nil, nil), ok("a")},
		"the event bank.v1.Deposited is heard already":                   {begin, hears, hears, ok("a")},
		"it begins with bank.v1.OpenAccount: put a Begin for that":       {beginsOn, begin, ok("a")},
		"bad name: want a small letter, then small letters, digits, '-'": {begin, ok("1")},

		"while that of Begin(*bankpb.OpenAccount) at check_internal_test": {begin, ok("a"), Step("b", give, Do("account", func(watch) (string, *bankpb.Withdraw) { return "", nil }))},
		"they must be a value whose zero value means":                     {Begin(func(*trip, string, *bankpb.OpenAccount) *trip { return nil })},
		"it has both steps and reactions: make two sagas of it":           {begin, ok("a"), OnTime("late", trip.none)},
		"it cannot begin: give it an On or an OnCommand":                  {OnTime("late", trip.none)},
		"there is a reaction to the event already, at check_internal":     {reacts, reacts},
		"On(*bankpb.Deposited) at check_internal_test.go":                 {On[trip, *bankpb.Deposited]("account", nil, nil)},
		"there is a reaction to the command already":                      {obeys, obeys},
		"OnCommand(*bankpb.OpenAccount) at check_internal_test.go":        {OnCommand[trip, *bankpb.OpenAccount](nil)},
		`OnAnswer("a b") at check_internal_test.go`:                       {obeys, OnAnswer("a b", trip.answered)},
		`OnAnswer("a") at check_internal_test.go`:                         {obeys, OnAnswer("a", trip.answered), OnAnswer("a", trip.answered)},
		`OnTime("late") at check_internal_test.go`:                        {obeys, OnTime("late", trip.none), OnTime("late", trip.none)},
		"OnCancel at check_internal_test.go":                              {obeys, OnCancel(trip.cancelled), OnCancel(trip.cancelled)},
		"Evolve(*bankpb.Deposited) at check_internal_test.go":             {obeys, evolves, evolves},
		"Retries at check_internal_test.go":                               {obeys, Retries(Backoff{})},
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) || !strings.HasPrefix(got, `sagas: saga "s" (defined at check_internal_test.go:`) {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			}()
			Define("s", p...)
		}()
	}
}

var (
	hears    = Hear("account", func(*bankpb.Deposited, Source) string { return "" }, trip.told)
	reacts   = On("account", func(*bankpb.Deposited, Source) string { return "" }, trip.reacted)
	obeys    = OnCommand(func(trip, *bankpb.OpenAccount) (Then, error) { return Then{}, nil })
	evolves  = Evolve(func(t trip, _ *bankpb.Deposited) trip { return t })
	beginsOn = BeginOn("account", func(*bankpb.AccountOpened, Source) (string, *bankpb.OpenAccount) { return "", nil })
)

func (trip) reacted(*bankpb.Deposited, Source) Then   { return Then{} }
func (trip) answered(Answer) Then                     { return Then{} }
func (trip) cancelled(string) Then                    { return Then{} }
func (trip) because(string) (string, *bankpb.Deposit) { return "", nil }
func (trip) none() Then                               { return Then{} }

// What is right in its own way is not refused.
func TestRightDefinitions(t *testing.T) {
	for _, p := range [][]Part{
		{begin, ok("a")},
		{begin, beginsOn, hears, Step("a", take, NoUndo("it changes nothing"))},
		{begin, Pivot("p", take)},
		{begin, after("r"), after("s"), Together(after("t"), after("u"))},
		{begin, Together(ok("a"), ok("b")), Pivot("p", take, Timeout(time.Hour)), after("r")},
	} {
		if got := Define("s", p...).Type().Commands(); len(got) != 10 {
			t.Errorf("commands %v", got)
		}
	}
}
