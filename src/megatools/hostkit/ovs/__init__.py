"""Open vSwitch: the database client, transactions as data, and a private instance."""
