"""
The command line: the only place that prints and exits.

A module is the command of its name, but for

    benches                                `hsm bench` and `bench`: what measures
    demonstration                          the parts of `demo`, and the sites that are made of them
    terminal_view                          what `terminal` shows
    main, lazy                             the command itself, and how it finds the others
    choice, folders, installed, language   what commands have in common
"""
