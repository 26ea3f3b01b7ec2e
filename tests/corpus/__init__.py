"""Bad input: named cases, and the one message and status that each must end with."""
