"""
`jpki-appliance bench daemon`: the whole daemon under load, beside a bare C_Sign loop on its own token.

    site         a clinic in a folder: many terminals with certificates, budgets that do not matter
    node         the daemon as a process, with a sampling profile that signals begin and end
    crowd        the load: another process, with terminals whose cards are prepared, and their receptions
    prepared     what those terminals and cards say
    processes    processor time and memory of processes, as the kernel counts them
    sampling     where the daemon's own thread spends its time
    measures     what is measured, slot by slot
    report       the rows, and the goals they are held to
"""
