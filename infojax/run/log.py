"""Placeholder being replaced by the logging helper."""
import json, os
def write_json(path, object):
    tmp = str(path) + ".tmp"
    with open(tmp, "w") as f:
        json.dump(object, f)
    os.replace(tmp, path)
