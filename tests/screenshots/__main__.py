import sys

from tests.screenshots.take import main

sys.exit(main())
