"""One module for each file of /proc: ``parse`` takes its text, ``read`` takes the /proc folder.

``read`` raises OSError where the file can't be read and ValueError where it isn't in its format.
"""
