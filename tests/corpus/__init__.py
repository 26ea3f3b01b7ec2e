"""Bad input: named cases, and the one message and status that each must end with."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scenes"))  # for its make_files
