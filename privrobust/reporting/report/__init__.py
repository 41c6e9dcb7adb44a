"""One page that shows a store of results to people who know nothing of it.

Everything is inside the file: style, charts, the numbers and the JavaScript that draws them. It
asks no network for anything, and its content security policy forbids it to. `page.write_report`
writes it; nothing is imported here, so that the command line starts quickly.
"""
