"""Print what a host thinks of its own address, for the test of the same name; an argument is the setting."""

import sys

from megatools.hostkit import routes
from megatools.minimega.app.settings import Settings

if __name__ == "__main__":
    address = Settings(address=sys.argv[1]).own_address()
    print(address, routes.interface_of(address), routes.mtu_of(routes.interface_of(address)))
