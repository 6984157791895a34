"""Write the index that `distmatch list` and `distmatch show` print from.

python tools/index.py
"""

from distmatch.runs.listing import INDEX, write_index

if __name__ == "__main__":
    write_index()
    print(f"index: {INDEX.name}")
