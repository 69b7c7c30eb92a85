package sqlsink_test

const victim = "HOLDFAST_TEST_VICTIM"

func beKilled() {}
