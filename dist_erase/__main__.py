"""`python -m dist_erase`: the command where it is not installed, as on a cluster's nodes."""

from dist_erase.cli.app import main

if __name__ == "__main__":
    main()
