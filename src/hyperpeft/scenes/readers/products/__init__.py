"""Products of one sensor each, recognised by what their files hold."""
