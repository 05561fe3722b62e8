"""`python -m tercih`, and `torchrun -m tercih`."""

from tercih.cli import main

if __name__ == "__main__":
    main()
