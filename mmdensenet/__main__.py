"""``python -m mmdensenet`` is the command ``mmdensenet``."""

from mmdensenet_cli.main import main

if __name__ == '__main__':
    main()
