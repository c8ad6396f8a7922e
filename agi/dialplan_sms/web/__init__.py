"""The SMS API as a server, and the page; both need the packages of the extra ``http``."""
