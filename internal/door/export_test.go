package door

// Judge gives the body that JetStream may have.
var Judge = judge

// MaxInFlight is how many requests one door asks JetStream at a time.
const MaxInFlight = maxInFlight
