"""A real Asterisk for the tests: fetched once, started on loopback, called over AMI."""
