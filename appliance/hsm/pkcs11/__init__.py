"""What is said to a module through python-pkcs11, in single-threaded processes alone."""
