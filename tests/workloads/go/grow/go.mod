module grow

go 1.19
