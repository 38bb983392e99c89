"""The credentials that the stores of the tests give the gateway."""

ACCESS_KEY = "STOREACCESSKEY"
SECRET_KEY = "store-secret-key-for-tests"
