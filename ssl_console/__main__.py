"""`python -P -m ssl_console` is the `ssl-console` command."""

from ssl_console.cli import main

if __name__ == "__main__":
    main()
