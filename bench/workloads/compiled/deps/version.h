// version 0
