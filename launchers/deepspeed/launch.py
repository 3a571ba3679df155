"""launch.py [DEEPSPEED'S OPTIONS] --config CONFIG [--resume | --overwrite] [KEY=VALUE …]."""

import sys
from pathlib import Path

from dist_erase.orchestration.deepspeed_launch import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).with_name("unlearn.py")))
