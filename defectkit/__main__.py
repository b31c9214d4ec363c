"""``python -m defectkit``: the command line, where the folder of scripts is not on the path."""

from defectkit.cli import main

if __name__ == "__main__":
    main()
