"""The reference project's eval.py: `python eval.py --help`."""

import sys

try:
    from nerfcl.cli.reference import eval_main
except ModuleNotFoundError as error:
    if error.name != "nerfcl":
        raise
    sys.exit(f"eval.py: nerfcl is not installed for {sys.executable}; run `make install`, or `pip install .`")

if __name__ == "__main__":
    sys.exit(eval_main())
