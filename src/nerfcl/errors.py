"""The one exception that users are meant to see."""


class NerfclError(Exception):
    """Something the user can put right: says what is wrong, where, and what to do next.

    The command line prints it as one line and exits with code 2.
    """
