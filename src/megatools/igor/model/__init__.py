"""What igor speaks of: clusters, hosts, reservations, images, people, the configuration. Knows no database."""
