"""
`jpki-appliance simulator`: cards, readers and CAs for integrators. Never for production.

    command   the group
    made      what it makes: hierarchies, sites, cards, lists of revoked certificates
    played    what it plays: cards on readers
    options   what its options are
"""
