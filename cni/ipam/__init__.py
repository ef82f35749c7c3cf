"""Which pod has which address of the node's range.

Guarantees: an address belongs to one attachment (container ID and interface) at a time; asking again for the same
attachment gives the same address; a crash at any instant leaves every address either free or owned by an attachment
that ``collect`` can find. The listing of one directory *is* the state: a file's name holds address and owner, so
taking an address is one ``open(O_EXCL)`` and giving it back one ``unlink``. It survives a restart of the machine; what
the machine's death orphaned is freed by GC.
"""
