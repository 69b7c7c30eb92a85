package door

// Judge gives the body that JetStream may have.
var Judge = judge
