"""
What a PKCS#11 module really does, and the vendor profile that follows.

`runner` starts a throw-away process (`probe`) for each question, because a module may crash or hang over it; what they
find (`results`) becomes a profile (`profile`) and a table for people (`table`).
"""
