"""What every suite needs: servers on loopback, clients, raw requests.

What lives here: starting, stopping and addressing things. What must not: assertions about S3.
Invariant: every server listens on loopback only, writes below one temporary folder, and is stopped
by its own process id.
"""
