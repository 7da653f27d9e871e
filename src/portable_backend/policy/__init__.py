"""What manylinux and musllinux policies allow, and which symbols glibc and musl have."""
