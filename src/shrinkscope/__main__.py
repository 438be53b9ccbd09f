"""``python -m shrinkscope``: the command line without its script."""

from shrinkscope.cli import main

if __name__ == "__main__":
    main()
