"""The interchangeable ways of finding defects, behind one interface."""
