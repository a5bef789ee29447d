"""
`jpki-appliance simulator`: cards, readers and CAs for integrators. Never for production.

    command       the group
    hierarchies   what it makes: hierarchies of CAs, sites, cards, lists of revoked certificates
    readers       what it plays: cards on virtual readers
    options       what its options are
"""
