"""Where keys live: PKCS#11 modules, each spoken to by one single-threaded process of its own."""
