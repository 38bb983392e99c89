"""The stores behind the gateway: each is started in a folder of its own and stopped by its process id.

A store has `name` (in test ids and lists), `title` (in documents), `url`, `access_key`, `secret_key`,
and may have `gateway_lines`: lines of the section [store] that a gateway before it needs.
"""

from .ceph import Ceph
from .embedded import EmbeddedStore
from .juicefs import JuiceFS
from .moto import Moto
from .seaweedfs import SeaweedFS

STORES = {kind.name: kind for kind in (SeaweedFS, EmbeddedStore, JuiceFS, Moto, Ceph)}

__all__ = ["STORES", "Ceph", "EmbeddedStore", "JuiceFS", "Moto", "SeaweedFS"]
