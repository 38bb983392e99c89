"""The loop of the programs beside this file: a JSON command a line in, a JSON answer a line out.

It runs under the distribution's Python too: standard library only.
"""

import json
import sys


def serve(commands):
    """Calls `commands[name](**arguments)` for every line; what it returns, a dictionary or None, is the answer."""
    for line in sys.stdin:
        arguments = json.loads(line)
        call = commands[arguments.pop("do")]
        try:
            answer = call(**arguments) or {}
        except Exception as error:  # every failure belongs to the test that asked
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        print(json.dumps(answer), flush=True)
