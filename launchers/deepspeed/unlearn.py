"""deepspeed --num_accelerators 2 launchers/deepspeed/unlearn.py --config CONFIG [KEY=VALUE …]."""

import sys

from dist_erase.imports import quick_imports

with quick_imports():
    from dist_erase.orchestration.deepspeed_entry import main

if __name__ == "__main__":
    sys.exit(main())
