"""Arrays and JSON documents to a folder and back, safely.

A folder holds ``arrays.safetensors``, one ``NAME.json`` a document, ``NAME.md`` for people and
``manifest.json``, which lists the others with their sizes and SHA-256. Reading trusts none of it: links,
sizes, hashes, JSON and the array header are judged first, by this package and then by its caller, and only
then is memory taken for arrays.
Nothing is ever unpickled. The hashes find damage, not forgery; a forged folder is caught because everything
in it is only data, checked like any other.
"""

from .arrays import ArraySpec
from .folder import StoredFolder, check_replaceable, read_folder, write_folder
from .regular_files import AGAIN

__all__ = ["AGAIN", "ArraySpec", "StoredFolder", "check_replaceable", "read_folder", "write_folder"]
