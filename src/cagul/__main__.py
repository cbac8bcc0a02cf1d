from cagul.cli.app import main

main()
